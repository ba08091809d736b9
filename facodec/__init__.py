"""FACodec, streamed: a neural speech codec of 80 frames a second and 4.8 kbit/s."""
