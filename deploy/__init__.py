"""What an operator touches: the local stack, the image, the compose file's parts."""
