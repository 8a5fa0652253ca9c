"""An index of a folder of videos: made once and kept up to date, searched by files, by parts, by examples."""
