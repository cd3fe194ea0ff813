"""Training the parts that turnout ships: small weights on top of models that stay as they are."""
