"""Does a file compute what the model computes, how fast, and which layer differs first."""
