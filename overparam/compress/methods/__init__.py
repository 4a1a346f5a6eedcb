"""The built-in compressors, a file for each: file, function and method have one name."""
