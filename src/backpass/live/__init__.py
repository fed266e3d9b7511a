"""The live page: runs watched and looked into in a browser on this machine, and the playground."""
