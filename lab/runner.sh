#!/bin/bash
# one training after the other: takes lines of /tmp/lab/queue.txt until a line "stop"
cd /work/wt/recipes; export OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
n=0
while true; do
  line=$(sed -n "$((n+1))p" /tmp/lab/queue.txt)
  if [ -z "$line" ]; then sleep 2; continue; fi
  n=$((n+1))
  [ "$line" = stop ] && break
  echo "=== $line $(date +%H:%M:%S)" >> /tmp/lab/runs.log
  case "$line" in
    cmd*) eval "nice -n 5 ${line#cmd }" >> /tmp/lab/runs.log 2>&1 ;;
    *) nice -n 5 .venv/bin/python -W ignore -m lab.train $line >> /tmp/lab/runs.log 2>&1 ;;
  esac
done
