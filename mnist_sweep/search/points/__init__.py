"""What to try: the space, who proposes points of it, and whether a point is to be trained."""
