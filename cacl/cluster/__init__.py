"""Work that is sent to the processes of many machines: looking at files and decoding; indexing has its own."""
