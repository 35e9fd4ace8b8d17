"""The depot: serves a repository folder to a fleet. It holds no keys and is not trusted."""
