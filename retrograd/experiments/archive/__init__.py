"""The runs that there are: list, show, compare, remove and verify them. No run is trained or changed here."""
