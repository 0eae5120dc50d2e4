"""Parts of models around the method, under the names of MMSegmentation's rooms."""
