"""CEL: what stands around the library that compiles and evaluates expressions; see `core.expressions`."""
