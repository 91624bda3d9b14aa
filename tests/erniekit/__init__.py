# A package, so that its conftest is not imported under the name of the one above it.
