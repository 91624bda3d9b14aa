"""From what people have (label files, folders, tables, archives, hubs) to a dataset that trains."""
