"""As much of Django as the corpus needs: its names, not its code."""
