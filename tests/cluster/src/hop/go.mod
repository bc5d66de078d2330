module hop

go 1.24
