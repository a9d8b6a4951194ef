"""Whatever a lab consists of dies, stops, or has no room: never a wrong verdict, nothing left."""
