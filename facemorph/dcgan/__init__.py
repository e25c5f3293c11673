"""The 2018 paper's DCGAN: trained, judged by its losses, and walked through."""
