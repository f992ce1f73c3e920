"""The readout and its loss, without the logits of all tokens."""
