"""A model that knows one face: films of a person, from which the shipped model is trained on."""
