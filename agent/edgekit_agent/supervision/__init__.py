"""The resident process: it carries out the rules, watches the others, and reports."""
