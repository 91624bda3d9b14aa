"""Images as data: recipes, the steps that they come to, what a build would do anew, and the file that Docker takes."""
