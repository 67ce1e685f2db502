app = "shop"
