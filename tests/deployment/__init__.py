"""The files a deployment is made of say what the programs understand. They are read here; Docker itself is not run."""
