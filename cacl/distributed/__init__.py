"""Several processes that train one model: started, told apart, agreed."""
