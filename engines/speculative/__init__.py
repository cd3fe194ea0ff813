"""Speculative decoding: what is cheap to guess is proposed, and the model verifies several tokens in one step."""
