"""Bridges to the operators of other toolkits, which are imported when a bridge is used."""
