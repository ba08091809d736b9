"""A person's live session: microphone to server to loudspeaker, and its status."""
