"""What an operator uses: the local stack, the image, the compose file's parts."""
