"""Labs as compose projects, for people without Python; `testbed.compose.project` has them."""
