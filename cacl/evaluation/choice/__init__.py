"""Which encoder to choose: measures without labels, own beside frozen, the verdict, and what each costs."""
