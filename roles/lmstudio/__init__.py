"""LM Studio without a screen: llmster as a unit of systemd. From its documentation; it was not run."""
