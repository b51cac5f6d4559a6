#include <iostream>
int main() { std::cout << "c++ " << __cplusplus / 100 << "\n"; }
