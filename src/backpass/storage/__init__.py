"""What is kept on disk: files that are there whole or not at all, locks on folders, and files of tensors."""
