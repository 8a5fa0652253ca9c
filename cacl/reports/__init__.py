"""Every picture and page; numbers come from elsewhere."""
