"""MLX on a Mac: mlx_lm.server as a daemon of launchd. The program and its flags were run; on a Mac nothing was."""
