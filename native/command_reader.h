// Takes an operation's tensors and attributes out of the command buffer (see addon.cpp) and checks every bound.
#pragma once

#include "device.h"

namespace cd {

// Fills in op, kernel, tensors and attributes of a new command. Throws Error, naming the argument.
std::unique_ptr<Command> readCommand(Device& device, const double* buffer, size_t length);

}  // namespace cd
