"""Any file of speech as 16 kHz mono, piece by piece."""
