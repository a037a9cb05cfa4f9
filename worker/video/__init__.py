"""From a dialogue to a video: themes, voices, captions, picture and sound."""
