module bencher

go 1.24
