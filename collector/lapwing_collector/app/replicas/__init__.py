"""Several processes over one lake and state: who is there, who does what is done once, how far all are."""
