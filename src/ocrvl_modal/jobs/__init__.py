"""What runs where the data and the GPU are: plain module-level functions, plain data in and out."""
