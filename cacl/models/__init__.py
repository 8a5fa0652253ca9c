"""The networks: 3D CNNs, frame encoder, video transformer, heads, and the encoder folder."""
