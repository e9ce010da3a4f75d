/* XorLearns -- a 2-3-1 network learns XOR on the board, from four samples.
 *
 * Its library is made by the three commands of examples/arduino/README.md. Open Tools > Serial
 * Monitor at 115200 baud: each line is an epoch, the mean loss in millionths, and the outputs for
 * 0 0, 0 1, 1 0 and 1 1 in percent.
 */
#include <gate.h>

#define ONE ((int16_t)1 << GATE_A_FRAC) /* a target of 1.0 */

static const int32_t inputs[4][GATE_N_IN] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}};
static const int16_t targets[4][GATE_N_OUT] = {{0}, {ONE}, {ONE}, {0}};

static gate_state_t net;
static uint16_t epoch;

void setup()
{
    Serial.begin(115200);
    gate_reset(&net);
}

void loop()
{
    int64_t loss = 0;
    int16_t percent[4];

    if (epoch == 1000) {
        return;
    }
    epoch++;
    for (uint8_t i = 0; i < 4; i++) {
        gate_quantize_input(&net, inputs[i]);
        gate_forward(&net);
        percent[i] = (int32_t)net.a2[0] * 100 / ONE;
        loss += gate_loss(&net, targets[i]);
        gate_train(&net, targets[i]);
    }
    if (epoch % 100 != 0) {
        return;
    }
    Serial.print(F("epoch "));
    Serial.print(epoch);
    Serial.print(F(" loss "));
    Serial.print((uint32_t)((loss / 4 * 1000000) >> GATE_LOSS_FRAC));
    for (uint8_t i = 0; i < 4; i++) {
        Serial.print(' ');
        Serial.print(percent[i]);
    }
    Serial.println();
}
