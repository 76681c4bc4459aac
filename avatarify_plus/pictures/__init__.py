"""What is done to pictures: read, cut, resized, written on, put together."""
