"""FACodec as published (NaturalSpeech 3): model, checkpoint, faster precisions."""
