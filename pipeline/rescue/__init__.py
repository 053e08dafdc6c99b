"""Backup and restore: one portable file of everything an office cannot lose, and the careful way back."""
