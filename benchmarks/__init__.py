"""Every peer side by side in one run: no figure without a green gate."""
