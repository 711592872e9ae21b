"""What settles the absolute angles that unlabelled data cannot show."""
