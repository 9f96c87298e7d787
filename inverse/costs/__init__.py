"""What a solve will cost: counted on a small picture, before it starts."""
