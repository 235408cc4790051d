"""`touchstone plan`: designing a test before there is a task. The arithmetic is in `validator/plan/`."""
