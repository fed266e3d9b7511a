"""Pages for a browser: what all of them are made of, and how one becomes a single file that needs no network.

assets/ holds style.css and charts.js, which are backpass's own, and uPlot (its licence beside it), which draws lines.
"""
